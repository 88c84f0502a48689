// A device for Paddle that is none: its memory lies on the host, its streams have run what they are given when the
// call returns, and it has no kernel, so that Paddle computes everything on the CPU and copies to it and back. What is
// real are the ways to it: Paddle's pluggable device interface, places, copies, streams, and collectives over shared
// memory, which are written down so that a test can compare what the ranks have issued.
//
// Written from paddle/phi/backends/device_ext.h of the installed wheel and from
// https://www.paddlepaddle.org.cn/documentation/docs/en/dev_guides/custom_device_docs/index_en.html
//
// Environment:
//   FAKE_DEVICE_COUNT    devices of this machine (2)
//   FAKE_DEVICE_HALF     0: it has neither float16 nor bfloat16
//   FAKE_DEVICE_LEDGER   folder for rank_{r}.txt, a line per collective: operation, type, values, reduction

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>

#include "paddle/phi/backends/device_ext.h"

namespace {

constexpr size_t kSlotBytes = size_t{1} << 20;  // of a rank in shared memory; larger tensors go in pieces
constexpr size_t kIdBytes = 64;
constexpr size_t kMemoryBytes = size_t{4} << 30;  // what the device claims to have

// ---------------------------------------------------------------------------------------------------- slow copies

std::atomic<long> next_copy_to_host_ms{0}, next_copy_to_device_ms{0};

// What streams were asked for since the notes were last read: "copy STREAM TARGET", "record STREAM EVENT",
// "wait STREAM EVENT", "all_reduce STREAM SOURCE".
std::mutex stream_notes_lock;
std::string stream_notes;

void NoteStream(const char* what, const void* stream, const void* event) {
  std::lock_guard<std::mutex> hold(stream_notes_lock);
  char line[96];
  snprintf(line, sizeof line, "%s %p %p\n", what, stream, event);
  if (stream_notes.size() < (1u << 20)) stream_notes += line;
}
std::atomic<long> allocated_bytes{0};

void Sleep(long milliseconds) {
  if (milliseconds <= 0) return;
  timespec pause{milliseconds / 1000, (milliseconds % 1000) * 1000000};
  nanosleep(&pause, nullptr);
}

// ------------------------------------------------------------------------------------------------------- devices

thread_local int current_device = 0;

size_t DeviceCount() {
  const char* given = std::getenv("FAKE_DEVICE_COUNT");
  return given == nullptr ? 2 : std::strtoul(given, nullptr, 10);
}

C_Status Succeed() { return C_SUCCESS; }
C_Status SucceedOnDevice(const C_Device) { return C_SUCCESS; }

C_Status SetDevice(const C_Device device) {
  current_device = device->id;
  return C_SUCCESS;
}

C_Status GetDevice(const C_Device device) {
  device->id = current_device;
  return C_SUCCESS;
}

C_Status GetDeviceCount(size_t* count) {
  *count = DeviceCount();
  return C_SUCCESS;
}

C_Status GetDeviceList(size_t* devices) {
  for (size_t id = 0; id < DeviceCount(); ++id) devices[id] = id;
  return C_SUCCESS;
}

// ----------------------------------------------------------------------------------------------- streams, events

struct Token {};  // all work is finished when it is issued, so that streams and events have nothing to hold

C_Status CreateStream(const C_Device, C_Stream* stream) {
  *stream = reinterpret_cast<C_Stream>(new Token);
  return C_SUCCESS;
}

C_Status DestroyStream(const C_Device, C_Stream stream) {
  delete reinterpret_cast<Token*>(stream);
  return C_SUCCESS;
}

C_Status QueryStream(const C_Device, C_Stream) { return C_SUCCESS; }

C_Status AddCallback(const C_Device device, C_Stream stream, C_Callback callback, void* data) {
  C_Status status = C_SUCCESS;
  callback(device, stream, data, &status);
  return status;
}

C_Status CreateEvent(const C_Device, C_Event* event) {
  *event = reinterpret_cast<C_Event>(new Token);
  return C_SUCCESS;
}

C_Status RecordEvent(const C_Device, C_Stream stream, C_Event event) {
  NoteStream("record", stream, event);
  return C_SUCCESS;
}

C_Status DestroyEvent(const C_Device, C_Event event) {
  delete reinterpret_cast<Token*>(event);
  return C_SUCCESS;
}

C_Status QueryEvent(const C_Device, C_Event) { return C_SUCCESS; }

C_Status WaitForDevice(const C_Device) {
  return C_SUCCESS;
}

C_Status WaitForStream(const C_Device, C_Stream) {
  return C_SUCCESS;
}

C_Status WaitForEvent(const C_Device, C_Event) {
  return C_SUCCESS;
}

C_Status StreamWaitForEvent(const C_Device, C_Stream stream, C_Event event) {
  NoteStream("wait", stream, event);
  return C_SUCCESS;
}

// -------------------------------------------------------------------------------------------------------- memory

C_Status Allocate(const C_Device, void** memory, size_t size) {
  *memory = std::aligned_alloc(256, (std::max<size_t>(size, 1) + 255) / 256 * 256);
  if (*memory == nullptr) return C_FAILED;
  allocated_bytes += static_cast<long>(size);
  return C_SUCCESS;
}

C_Status Free(const C_Device, void* memory, size_t size) {
  std::free(memory);
  allocated_bytes -= static_cast<long>(size);
  return C_SUCCESS;
}

C_Status Fill(const C_Device, void* memory, unsigned char value, size_t size) {
  std::memset(memory, value, size);
  return C_SUCCESS;
}

C_Status CopyToDevice(const C_Device, void* target, const void* source, size_t size) {
  Sleep(next_copy_to_device_ms.exchange(0));
  std::memcpy(target, source, size);
  return C_SUCCESS;
}

C_Status CopyToHost(const C_Device, void* target, const void* source, size_t size) {
  Sleep(next_copy_to_host_ms.exchange(0));
  std::memcpy(target, source, size);
  return C_SUCCESS;
}

C_Status CopyOnDevice(const C_Device, void* target, const void* source, size_t size) {
  std::memmove(target, source, size);
  return C_SUCCESS;
}

C_Status CopyBetweenDevices(const C_Device, const C_Device, void* target, const void* source, size_t size) {
  std::memmove(target, source, size);
  return C_SUCCESS;
}

C_Status StreamCopyToDevice(const C_Device device, C_Stream stream, void* target, const void* source, size_t size) {
  NoteStream("copy", stream, target);
  return CopyToDevice(device, target, source, size);
}

C_Status StreamCopyToHost(const C_Device device, C_Stream, void* target, const void* source, size_t size) {
  return CopyToHost(device, target, source, size);
}

C_Status StreamCopyOnDevice(const C_Device device, C_Stream, void* target, const void* source, size_t size) {
  return CopyOnDevice(device, target, source, size);
}

C_Status StreamCopyBetweenDevices(
    const C_Device, const C_Device, C_Stream, void* target, const void* source, size_t size) {
  std::memmove(target, source, size);
  return C_SUCCESS;
}

C_Status MemoryStats(const C_Device, size_t* total, size_t* free_bytes) {
  *total = kMemoryBytes;
  *free_bytes = kMemoryBytes - std::min<size_t>(kMemoryBytes, std::max<long>(0, allocated_bytes));
  return C_SUCCESS;
}

C_Status MinimumChunk(const C_Device, size_t* size) {
  *size = 256;
  return C_SUCCESS;
}

C_Status ComputeCapability(const C_Device, size_t* capability) {
  *capability = 80;
  return C_SUCCESS;
}

C_Status Version(const C_Device, size_t* version) {
  *version = 1;
  return C_SUCCESS;
}

C_Status HalfSupported(const C_Device, bool* supported) {
  const char* given = std::getenv("FAKE_DEVICE_HALF");
  *supported = given == nullptr || std::strcmp(given, "0") != 0;
  return C_SUCCESS;
}

// --------------------------------------------------------------------------------------------------- collectives

// What the ranks share: a barrier, then a slot for each of them.
struct Header {
  std::atomic<unsigned> arrived;
  std::atomic<unsigned> round;
};

}  // namespace

struct C_CCLComm_st {
  size_t rank, ranks;
  Header* header;
  FILE* ledger;
  std::string name;

  char* Slot(size_t of_rank) { return reinterpret_cast<char*>(header) + 4096 + of_rank * kSlotBytes; }

  void Meet() {
    const unsigned round = header->round.load();
    if (header->arrived.fetch_add(1) + 1 == ranks) {
      header->arrived.store(0);
      header->round.fetch_add(1);
      return;
    }
    for (long turn = 0; header->round.load() == round; ++turn) {
      timespec pause{0, turn < 200 ? 0 : 100000};
      nanosleep(&pause, nullptr);
    }
  }
};

namespace {

float FromBfloat16(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

uint16_t ToBfloat16(float value) {  // rounds to nearest even
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if (value != value) return 0x7FC0;
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

float FromFloat16(uint16_t bits) {
  const int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
  float value = std::ldexp(static_cast<float>(mantissa + (exponent ? 1024 : 0)), std::max(exponent, 1) - 25);
  if (exponent == 31) value = mantissa ? NAN : INFINITY;
  return bits & 0x8000 ? -value : value;
}

uint16_t ToFloat16(float value) {  // rounds to nearest even
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint32_t sign = (bits >> 16) & 0x8000, size = bits & 0x7FFFFFFF;
  uint32_t half = (size - 0x38000000 + 0xFFF + ((size >> 13) & 1)) >> 13;
  if (size < 0x38800000) half = static_cast<uint32_t>(std::nearbyint(std::fabs(value) * 16777216.0f));  // subnormal
  if (size >= 0x477FF000) half = 0x7C00;  // from 65,520 on infinity is nearer
  if (size > 0x7F800000) half = 0x7E00;
  return static_cast<uint16_t>(sign | half);
}

template <float (*From)(uint16_t), uint16_t (*To)(float)>
struct Half {
  uint16_t bits;
  operator float() const { return From(bits); }
  Half& operator=(float value) {
    bits = To(value);
    return *this;
  }
};

using Float16 = Half<FromFloat16, ToFloat16>;
using Bfloat16 = Half<FromBfloat16, ToBfloat16>;

template <typename Stored, typename Computed>
void Reduce(char* target, C_CCLComm comm, size_t offset, size_t count, C_CCLReduceOp operation) {
  auto* result = reinterpret_cast<Stored*>(target);
  for (size_t i = 0; i < count; ++i) {
    Computed value = reinterpret_cast<Stored*>(comm->Slot(0) + offset)[i];
    for (size_t rank = 1; rank < comm->ranks; ++rank) {
      const Computed other = reinterpret_cast<Stored*>(comm->Slot(rank) + offset)[i];
      if (operation == MAX) value = std::max(value, other);
      if (operation == MIN) value = std::min(value, other);
      if (operation == PRODUCT) value = static_cast<Computed>(value * other);
      if (operation == SUM || operation == AVG) value = static_cast<Computed>(value + other);
    }
    if (operation == AVG) value = static_cast<Computed>(value / static_cast<Computed>(comm->ranks));
    result[i] = static_cast<Computed>(value);
  }
}

struct Type {
  const char* name;
  size_t size;
  void (*reduce)(char*, C_CCLComm, size_t, size_t, C_CCLReduceOp);
};

// The types of ncclDataType_t (https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/api/types.html), no other.
Type TypeOf(C_DataType type) {
  switch (type) {
    case INT8: return {"int8", 1, Reduce<int8_t, int8_t>};
    case UINT8: return {"uint8", 1, Reduce<uint8_t, uint8_t>};
    case INT32: return {"int32", 4, Reduce<int32_t, int32_t>};
    case UINT32: return {"uint32", 4, Reduce<uint32_t, uint32_t>};
    case INT64: return {"int64", 8, Reduce<int64_t, int64_t>};
    case UINT64: return {"uint64", 8, Reduce<uint64_t, uint64_t>};
    case FLOAT16: return {"float16", 2, Reduce<Float16, float>};
    case BFLOAT16: return {"bfloat16", 2, Reduce<Bfloat16, float>};
    case FLOAT32: return {"float32", 4, Reduce<float, float>};
    case FLOAT64: return {"float64", 8, Reduce<double, double>};
    default: return {"unknown", 0, nullptr};
  }
}

void Note(C_CCLComm comm, const char* operation, C_DataType type, size_t count, int reduction) {
  if (comm->ledger == nullptr) return;
  static const char* const kReductions[] = {"sum", "avg", "max", "min", "product"};
  const Type known = TypeOf(type);
  std::fprintf(comm->ledger, "%s %s %zu %s\n", operation, known.size ? known.name : "not-of-nccl", count,
               reduction < 0 ? "-" : kReductions[reduction]);
  std::fflush(comm->ledger);
}

C_Status IdSize(size_t* size) {
  *size = kIdBytes;
  return C_SUCCESS;
}

C_Status NewId(C_CCLRootId* id) {
  static std::atomic<int> number{0};
  std::snprintf(static_cast<char*>(id->data), kIdBytes, "/fake_device_%d_%d_%ld", getpid(), number++, time(nullptr));
  return C_SUCCESS;
}

FILE* OpenLedger(size_t rank) {
  const char* folder = std::getenv("FAKE_DEVICE_LEDGER");
  if (folder == nullptr) return nullptr;
  return std::fopen((std::string(folder) + "/rank_" + std::to_string(rank) + ".txt").c_str(), "a");
}

C_Status InitRank(size_t ranks, C_CCLRootId* id, size_t rank, C_CCLComm* comm) {
  const std::string name(static_cast<char*>(id->data));
  const size_t size = 4096 + ranks * kSlotBytes;
  const int file = shm_open(name.c_str(), O_CREAT | O_RDWR, 0600);
  if (file < 0 || ftruncate(file, static_cast<off_t>(size)) != 0) return C_FAILED;
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return C_FAILED;
  *comm = new C_CCLComm_st{rank, ranks, static_cast<Header*>(memory), OpenLedger(rank), name};
  (*comm)->Meet();  // all have opened it, so that its name can go: nothing stays when the processes are gone
  if (rank == 0) shm_unlink(name.c_str());
  return C_SUCCESS;
}

C_Status DestroyComm(C_CCLComm comm) {
  if (comm->ledger != nullptr) std::fclose(comm->ledger);
  munmap(comm->header, 4096 + comm->ranks * kSlotBytes);
  delete comm;
  return C_SUCCESS;
}

C_Status CommName(C_CCLComm comm, char* name) {
  std::strncpy(name, comm->name.c_str(), 127);
  return C_SUCCESS;
}

C_Status AllReduce(
    void* send, void* receive, size_t count, C_DataType type, C_CCLReduceOp op, C_CCLComm comm, C_Stream stream) {
  Note(comm, "all_reduce", type, count, op);
  NoteStream("all_reduce", stream, send);
  const Type known = TypeOf(type);
  if (known.size == 0) return C_ERROR;
  const size_t step = kSlotBytes / known.size;
  for (size_t start = 0; start < count; start += step) {
    const size_t part = std::min(step, count - start);
    std::memcpy(comm->Slot(comm->rank), static_cast<char*>(send) + start * known.size, part * known.size);
    comm->Meet();
    known.reduce(static_cast<char*>(receive) + start * known.size, comm, 0, part, op);
    comm->Meet();
  }
  return C_SUCCESS;
}

C_Status Broadcast(void* buffer, size_t count, C_DataType type, size_t root, C_CCLComm comm, C_Stream) {
  Note(comm, "broadcast", type, count, -1);
  const Type known = TypeOf(type);
  if (known.size == 0) return C_ERROR;
  for (size_t start = 0, bytes = count * known.size; start < bytes; start += kSlotBytes) {
    const size_t part = std::min(kSlotBytes, bytes - start);
    char* here = static_cast<char*>(buffer) + start;
    if (comm->rank == root) std::memcpy(comm->Slot(root), here, part);
    comm->Meet();
    if (comm->rank != root) std::memcpy(here, comm->Slot(root), part);
    comm->Meet();
  }
  return C_SUCCESS;
}

C_Status AllGather(void* send, void* receive, size_t count, C_DataType type, C_CCLComm comm, C_Stream) {
  Note(comm, "all_gather", type, count, -1);
  const Type known = TypeOf(type);
  if (known.size == 0) return C_ERROR;
  const size_t bytes = count * known.size;
  for (size_t start = 0; start < bytes; start += kSlotBytes) {
    const size_t part = std::min(kSlotBytes, bytes - start);
    std::memcpy(comm->Slot(comm->rank), static_cast<char*>(send) + start, part);
    comm->Meet();
    for (size_t rank = 0; rank < comm->ranks; ++rank) {
      std::memcpy(static_cast<char*>(receive) + rank * bytes + start, comm->Slot(rank), part);
    }
    comm->Meet();
  }
  return C_SUCCESS;
}

C_Status ReduceScatter(
    void* send, void* receive, size_t count, C_DataType type, C_CCLReduceOp op, C_CCLComm comm, C_Stream) {
  Note(comm, "reduce_scatter", type, count, op);
  const Type known = TypeOf(type);
  if (known.size == 0) return C_ERROR;
  const size_t step = kSlotBytes / known.size / comm->ranks;  // values for one receiver in a slot
  for (size_t start = 0; start < count; start += step) {
    const size_t part = std::min(step, count - start), bytes = part * known.size;
    for (size_t rank = 0; rank < comm->ranks; ++rank) {
      const char* source = static_cast<char*>(send) + (rank * count + start) * known.size;
      std::memcpy(comm->Slot(comm->rank) + rank * bytes, source, bytes);
    }
    comm->Meet();
    known.reduce(static_cast<char*>(receive) + start * known.size, comm, comm->rank * bytes, part, op);
    comm->Meet();
  }
  return C_SUCCESS;
}

}  // namespace

// --------------------------------------------------------------------------------------------- for tests, by ctypes

extern "C" {

// Writes the notes into a buffer, forgets them, and returns how many bytes they were.
size_t fake_device_stream_notes(char* buffer, size_t size) {
  std::lock_guard<std::mutex> hold(stream_notes_lock);
  size_t count = std::min(size, stream_notes.size());
  memcpy(buffer, stream_notes.data(), count);
  stream_notes.clear();
  return count;
}
void fake_device_slow_next_copy_to_host(long milliseconds) { next_copy_to_host_ms = milliseconds; }
void fake_device_slow_next_copy_to_device(long milliseconds) { next_copy_to_device_ms = milliseconds; }

uint16_t fake_device_to_float16(float value) { return ToFloat16(value); }
float fake_device_from_float16(uint16_t bits) { return FromFloat16(bits); }
uint16_t fake_device_to_bfloat16(float value) { return ToBfloat16(value); }

void InitPlugin(CustomRuntimeParams* params) {
  PADDLE_CUSTOM_RUNTIME_CHECK_VERSION(params);
  static char type[] = "fake_gpu", variant[] = "host_memory";
  params->device_type = type;
  params->sub_device_type = variant;
  C_DeviceInterface* device = params->interface;
  device->initialize = Succeed;
  device->finalize = Succeed;
  device->init_device = SucceedOnDevice;
  device->set_device = SetDevice;
  device->get_device = GetDevice;
  device->deinit_device = SucceedOnDevice;
  device->create_stream = CreateStream;
  device->destroy_stream = DestroyStream;
  device->query_stream = QueryStream;
  device->stream_add_callback = AddCallback;
  device->create_event = CreateEvent;
  device->record_event = RecordEvent;
  device->destroy_event = DestroyEvent;
  device->query_event = QueryEvent;
  device->synchronize_device = WaitForDevice;
  device->synchronize_stream = WaitForStream;
  device->synchronize_event = WaitForEvent;
  device->stream_wait_event = StreamWaitForEvent;
  device->device_memory_allocate = Allocate;
  device->device_memory_deallocate = Free;
  device->device_memory_set = Fill;
  device->host_memory_allocate = Allocate;
  device->host_memory_deallocate = Free;
  device->unified_memory_allocate = Allocate;
  device->unified_memory_deallocate = Free;
  device->memory_copy_h2d = CopyToDevice;
  device->memory_copy_d2h = CopyToHost;
  device->memory_copy_d2d = CopyOnDevice;
  device->memory_copy_p2p = CopyBetweenDevices;
  device->async_memory_copy_h2d = StreamCopyToDevice;
  device->async_memory_copy_d2h = StreamCopyToHost;
  device->async_memory_copy_d2d = StreamCopyOnDevice;
  device->async_memory_copy_p2p = StreamCopyBetweenDevices;
  device->get_device_count = GetDeviceCount;
  device->get_device_list = GetDeviceList;
  device->device_memory_stats = MemoryStats;
  device->device_min_chunk_size = MinimumChunk;
  device->get_compute_capability = ComputeCapability;
  device->get_runtime_version = Version;
  device->get_driver_version = Version;
  device->is_float16_supported = HalfSupported;
  device->is_bfloat16_supported = HalfSupported;
  device->xccl_get_comm_name = CommName;
  device->xccl_get_unique_id_size = IdSize;
  device->xccl_get_unique_id = NewId;
  device->xccl_comm_init_rank = InitRank;
  device->xccl_destroy_comm = DestroyComm;
  device->xccl_all_reduce = AllReduce;
  device->xccl_broadcast = Broadcast;
  device->xccl_all_gather = AllGather;
  device->xccl_reduce_scatter = ReduceScatter;
  device->xccl_group_start = Succeed;
  device->xccl_group_end = Succeed;
}

}  // extern "C"
