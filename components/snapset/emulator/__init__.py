"""The embedded EC2: moto made strict, on the loopback, with scripted faults and a log of every call.

`client.EmbeddedEC2` starts it as a separate process and talks to it; `python -m snapset.emulator` is that process.
moto is imported in that process only.

    urls, models, responses    what moto loads: the backend and the answers, put together from the modules below
    request, rules, errors     parsing CreateSnapshots requests, EC2's limits, EC2's error answers
    sets, snapshots, life      which snapshots a set gets, the snapshots, and how their state changes over time
    filters                    which snapshots DescribeSnapshots returns
    direct                     EBS direct, which reads the snapshots' blocks
    storage, images, tags, zones   volumes, images, tags, Outposts and Local Zones
    speed                      what moto works out anew for each answer, remembered
    world                      settings, locks and planned failures that a test can change
    middleware, faults, calls  scripted faults and the call log, in front of moto
    control                    the HTTP API that changes all this
    server                     the server process
    person, seed               `snapset ec2`: what it prints, and what is on the volumes of `--seed`
    client, process            the client: start the server and control it
"""
