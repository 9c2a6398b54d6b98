"""WorkloadAttestor plugins of the agent."""
