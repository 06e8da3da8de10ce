"""edgekit: shrink a model by a recipe, build what a target can run, and prove that it still answers right.

The modules in the order in which the data passes them:

    cli         parses, calls, prints
    catalog     finds recipes and targets             recipe, target   the two file formats
    inputs      teacher, student and data, resolved and content-addressed (tables, shape)
    plan        recipe x target x inputs -> steps     steps            the recipe language
    build       runs a plan                           store            one folder per finished step
    stages      <step>_<tool>: what a step does       artifact         what one stage hands to the next
    tasks       data and score of a kind of model     ondevice         what runs on the device, and validates here
    bundle      the folder that travels to the device
    wheels      the device's runtime, packed along    tarball          archives, read and unpacked strictly
    sign        an SSH signature that says when       flash            onto devices (inventory, transports)
    agent       what acts on the device (agentfile)   export, image    for update servers, cards (devicebase)
    measure     runs the profiler here                profile          what it found (meter: with a meter's log)
    emulate     ARM instructions, counted under QEMU  compare          profiles side by side
    cost        edge against cloud, in money          assess           the checklist of that decision
    report      one HTML file of all of these         documents        JSON documents, read strictly
    doctor      what this machine has and lacks       errors, atomic, tomlfile, quiet
"""

__version__ = "0.1.0"
