"""The embedded EC2: moto made strict, on the loopback, with scripted faults and a log of every call.

`client.EmbeddedEC2` starts it as a process of its own and speaks to it; `python -m snapset.emulator` is that process.
moto is imported in that process only.

    urls, models, responses    what moto finds: the backend and the answers, assembled from the modules below
    request, rules, errors     the form of a request, what EC2 accepts, and how EC2 says no
    sets, snapshots, life      what a set will be, its snapshots, and how they get from pending to their end
    filters                    what DescribeSnapshots shows of them
    storage, images, tags, zones   volumes, images that need snapshots, tags, Outposts and Local Zones
    world                      what a script has changed: settings, locks, failures to come
    middleware, faults, calls  scripted faults and the log of calls, in front of moto
    control                    how a script says all this over HTTP
    server                     one process: bind, say so, end
    client, process            for the other side: start it, script it, ask it
"""
