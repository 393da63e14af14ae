"""The Kubernetes operator: senders (WebhookSource), receivers (WebhookEndpoint) and replays (EventReplay) as objects of
the cluster.

It is level-based. Each reconcile reads the whole actual state (`reconcile`), computes the whole desired state from it
(`desired`, `keyring`, `status`, `replays`: pure functions), and applies the difference. What a watch sees (`handlers`)
only starts a reconcile sooner. So a lost event, a restart and somebody's edit are all mended by the next reconcile.

It is in nobody's way: the services read a Secret, which stays when the operator is gone.
"""
