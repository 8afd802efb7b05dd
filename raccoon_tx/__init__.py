"""raccoon_tx: takes events over WebSocket, REST and gRPC and delivers them to Kafka."""
