"""The descriptor pool of the generated messages, apart from the process-wide one. Generated; do not edit."""

from google.protobuf import descriptor_pool, timestamp_pb2
from google.protobuf.internal import builder

PRIVATE = descriptor_pool.DescriptorPool()
PRIVATE.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
# Runtimes before 4.25 crash on a message whose class was never made.
builder.BuildTopDescriptorsAndMessages(PRIVATE.FindFileByName("google/protobuf/timestamp.proto"), __name__, {})
