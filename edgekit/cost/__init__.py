"""What a prediction costs on the edge and in the cloud, what it would take for that to change, and how sure it is.

Read in this order: inputs (what there is to know), scenario (what the user says), sources (what profiles, targets and
bundles say), cloud, edge and model (the formulas), verdict, uncertainty, distillation, document (what comes out).
"""

#: What a cost document says it is, and the version of its keys.
KIND = "edgekit-cost"
SCHEMA = 1
