"""A small client of the Kubernetes API, for the plugins that need one (decision note 0009).

Nothing is opened at import or when a client is made, only when it is used.
"""
