//! What travels and where: protobuf events, gRPC services, and the broker's topology.
