"""What travels to the device: it runs a bundle there, checks that it answers as on the host, and measures it.

A leaf: the standard library, numpy, tokenizers and one runtime; nothing else of edgekit; Python 3.9 and newer.

    errors      the one kind of trouble that this package can explain
    manifest    what a bundle says of itself, and whether its files are whole
    text        texts to token ids
    runtimes    one module per runtime: load a model, answer for one text; or a bare model, input by input
    infer       texts to logits, probabilities and labels
    verify      the golden samples again, here

    profile     the profiler's flow, from idle power to one JSON document
    workload    what one inference is: of a bundle, of a bare model (inputs: what that is fed)
    scenarios   MLPerf's four ways of issuing queries (loadgen: its own driver of them); stats: percentiles, intervals
    startup     cold start; memory: resident sets; operators: times by kind of operator
    machine     which machine, in which state, and what to doubt (identity, procfs)
    energy      what the run drew (sensors: one module per sensor; power: watts of a stretch of readings)
    regions     marks for an emulator that counts instructions
    document    a document's id
"""
