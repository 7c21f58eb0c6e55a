"""Other SCIM servers, each set up as its documentation says, to be measured beside the gateway."""
