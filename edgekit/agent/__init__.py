"""What acts on the device: receives a bundle, checks it, makes it current, and goes back where it is not healthy.

A leaf: the standard library only, Python 3.9 and newer; nothing of edgekit, and nothing of a bundle is imported.
Called as `python3 B/agent/<digest16>.pyz COMMAND`, with one JSON request on stdin. Progress goes to stderr, a line
each; the last line of stdout is one JSON document, and the exit code is 0 for {"ok": true}, else 1.

    __main__   reads the request, takes the lock, lets `switch` recover, answers
    protocol   requests and answers, and the kinds of trouble
    disk       files, links and folders that survive a power cut
    base       the folder on the device: releases, links, lock, journal
    manifest   a manifest, read strictly
    trust      who signed it, and when
    probe      what this machine is
    receive    want, stage: files come in, a release comes to be
    release    is a release whole, trusted, and does it answer as on the host
    execute    runs a release's code, in its folder and with a timeout
    switch     activate, rollback, and what a crash between leaves to do
    runtime    install_runtime: a venv from the release's own wheels
    install    all of these for a bundle that lies on the device already
    keep       show, prune, logs
    service    install, remove, status, restart of a systemd unit (unit: its text; systemd: how it is asked)
    place      where the service listens, and what it says of its health
"""
