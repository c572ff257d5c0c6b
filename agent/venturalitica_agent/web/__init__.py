"""The status page: what the state holds, as documents (JSON) and as pages made of the same documents."""
