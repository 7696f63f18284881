"""Stand-ins for the vendors of `polvo_adapters.auth.vendors`, each made of one description of its documentation."""
