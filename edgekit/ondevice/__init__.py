"""What travels to the device: it runs a bundle there, checks that it answers as on the host, and measures it.

A leaf: the standard library, numpy, tokenizers and one runtime; nothing else of edgekit; Python 3.9 and newer.

    errors     the one kind of trouble that this package can explain
    manifest   what a bundle says of itself, and whether its files are whole
    text       texts to token ids
    runtimes   one module per runtime: load a model, answer for one text; or a bare model, input by input
    infer      texts to logits, probabilities and labels
    verify     the golden samples again, here
    sensors    one module per energy sensor
    profiler   latency, memory and energy, here
    service    the bundle behind a local HTTP port, through switches
"""
