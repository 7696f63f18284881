"""What a call inherits from the code around it, in context variables: the outer call, the tenant, the request id."""
