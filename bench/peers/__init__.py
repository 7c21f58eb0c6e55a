"""Other servers of SCIM on Python, each as its documentation sets it up, to be measured beside the gateway."""
