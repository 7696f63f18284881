"""What a call inherits from the code around it in context variables: outer call, tenant, correlation id."""
