"""The descriptor pool of the generated messages, apart from the process-wide one. Generated; do not edit."""

from google.protobuf import descriptor_pool, timestamp_pb2

PRIVATE = descriptor_pool.DescriptorPool()
PRIVATE.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
