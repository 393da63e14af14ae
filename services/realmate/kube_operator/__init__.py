"""The Kubernetes operator: senders (WebhookSource) and replays (EventReplay) as objects of the cluster.

It works by levels, not by edges. Each turn takes the whole actual state (`reconcile`), computes the whole wanted one
from it (`desired`, `keyring`, `status`, `replays`: pure), and makes the difference true; what a watch sees (`handlers`)
only starts a turn sooner. So a lost event, a restart and a hand edit all heal alike, at the next turn.

It is in nobody's way: the services read a Secret, which stays when the operator is gone.
"""
