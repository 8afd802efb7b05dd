"""Makes ``twistd`` know of us. Every run of ``twistd`` imports this, so it imports nothing of ours."""

from twisted.application.service import ServiceMaker

raccoon = ServiceMaker("Raccoon", "raccoon_tx.tap", "Take events in, pass them to Kafka.", "raccoon")
