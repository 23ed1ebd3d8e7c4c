"""A container of its own for each run, under the VM's Docker Engine: python -m vm_agent.containers FOLDER."""
