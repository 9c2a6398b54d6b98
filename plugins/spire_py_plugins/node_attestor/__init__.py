"""NodeAttestor plugins, one folder for each type: `agent.py` and `server.py` are its two ends."""
