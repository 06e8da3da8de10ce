"""`python3 -m ondevice profile`: latency, memory and energy of a bundle or a bare model, on the machine it runs on.

command     its words, and where its documents go
session     the flow, from idle power to one JSON document
workload    what one inference is: of a bundle, of a bare model (inputs: what that is fed)
scenarios   MLPerf's four ways of issuing queries (loadgen: its own driver of them)
startup     cold start
memory      resident sets
operators   times by kind of operator
machine     which machine, in which state, and what to doubt (identity, procfs)
energy      what the run drew, from ../sensors (power: watts of a stretch of readings)
stats       percentiles and their intervals
regions     `count`: marks for an emulator that counts instructions
document    a document's id
"""
