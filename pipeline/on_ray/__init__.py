"""Workers as actors of a Ray cluster; nobody else talks to Ray.

`places` says what each worker needs and who has room for it, `survey` asks the nodes what they
have, `actor` is what runs on a node, `handle` what the head holds of it. Ray places the actors and
starts them again where a node dies; trials and claims are the study's storage's, as for every
worker.

Ray is imported by `connection`, `survey` and `handle` alone: a search without it needs none.
"""
