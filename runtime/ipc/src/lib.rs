//! Greengrass event-stream RPC: codec, sessions, identity, authorisation, operations, client.
