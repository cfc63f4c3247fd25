#include "train/mapping_guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <optional>
#include <utility>

#include "core/check.h"
#include "train/checksum.h"

namespace accrue::train {
namespace {

// One guarded mapping. Whoever reads it while it changes sees that by its version, which is odd meanwhile: the handler
// must neither wait for a lock nor believe the begin of one mapping with the end of another.
struct GuardedMapping {
  std::atomic<std::uint32_t> version = 0;
  std::atomic<std::uintptr_t> begin = 0, end = 0;  // equal: a free place
  std::atomic<bool> damaged = false;
  std::atomic<std::int64_t> modified = 0;  // when the file was, in nanoseconds: as of its mapping, or of its last check
  int fd = -1;  // these three are for the owners of the mapping, whose own it is while they call
  std::string name;
  std::optional<std::uint64_t> checksum;
};
static_assert(std::atomic<std::uintptr_t>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

std::array<GuardedMapping, most_guarded_mappings> guarded_mappings;
std::mutex guarded_mappings_change;  // for those who guard and release
struct sigaction sigbus_before;
std::uintptr_t system_page_size = 0;

// The mapping that has this address, or null.
GuardedMapping* find_mapping(std::uintptr_t address) {
  for (GuardedMapping& mapping : guarded_mappings) {
    const std::uint32_t version = mapping.version.load();
    const std::uintptr_t begin = mapping.begin.load(), end = mapping.end.load();
    const bool stable = version % 2 == 0 && mapping.version.load() == version;
    if (stable && begin <= address && address < end) return &mapping;
  }
  return nullptr;
}

void set_range(GuardedMapping& mapping, std::uintptr_t begin, std::uintptr_t end) {
  ++mapping.version;
  mapping.damaged = false;
  mapping.begin = begin;
  mapping.end = end;
  ++mapping.version;
}

// Zeros from the page of this address to the mapping's end. The call itself and not the C library's function, which
// tools such as sanitizers replace by ones that no handler may call.
bool replace_pages(const GuardedMapping& mapping, std::uintptr_t address) {
  const std::uintptr_t first = address / system_page_size * system_page_size;
  return syscall(SYS_mmap, first, mapping.end.load() - first, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                 0) == static_cast<long>(first);
}

// As if this handler were not there.
void pass_on(int signal, siginfo_t* info, void* context) {
  if ((sigbus_before.sa_flags & SA_SIGINFO) != 0) return sigbus_before.sa_sigaction(signal, info, context);
  if (sigbus_before.sa_handler != SIG_DFL && sigbus_before.sa_handler != SIG_IGN)
    return sigbus_before.sa_handler(signal);
  // A process can ignore the signal that another sends, but not an access that it cannot complete.
  if (sigbus_before.sa_handler == SIG_IGN && info->si_code <= 0) return;
  struct sigaction end = {};
  end.sa_handler = SIG_DFL;
  sigaction(signal, &end, nullptr);
  raise(signal);  // comes when this handler returns
}

void on_sigbus(int signal, siginfo_t* info, void* context) {
  const int interrupted_errno = errno;
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  GuardedMapping* const mapping = info->si_code > 0 ? find_mapping(address) : nullptr;
  // Marked first: another thread must not read the zeros and find the mapping intact.
  if (mapping != nullptr) mapping->damaged = true;
  if (mapping == nullptr || !replace_pages(*mapping, address)) pass_on(signal, info, context);
  errno = interrupted_errno;
}

void install_handler() {
  system_page_size = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  sigaction(SIGBUS, nullptr, &sigbus_before);  // before the handler that looks at it
  struct sigaction action = {};
  action.sa_sigaction = on_sigbus;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, nullptr);
}

constexpr std::int64_t unknown_time = -1;

std::int64_t modified_at(const struct stat& info) {
  return info.st_mtim.tv_sec * std::int64_t{1'000'000'000} + info.st_mtim.tv_nsec;
}

std::span<const std::uint8_t> bytes_of(const GuardedMapping& mapping) {
  return {reinterpret_cast<const std::uint8_t*>(mapping.begin.load()), mapping.end.load() - mapping.begin.load()};
}

// Whether a file that somebody has written to still has the content it had: only its time has changed, or it has grown.
bool has_same_content(GuardedMapping& mapping, std::int64_t modified) {
  const std::lock_guard lock(guarded_mappings_change);
  if (mapping.modified == modified) return true;  // another thread has just looked
  if (!mapping.checksum || checksum64(bytes_of(mapping), 0) != *mapping.checksum || mapping.damaged) return false;
  mapping.modified = modified;
  return true;
}

bool is_intact(GuardedMapping& mapping) {
  if (mapping.damaged) return false;
  struct stat info = {};
  if (fstat(mapping.fd, &info) != 0) return true;
  if (static_cast<std::uintptr_t>(info.st_size) < bytes_of(mapping).size()) return false;
  const std::int64_t known = mapping.modified;
  return known == unknown_time || modified_at(info) == known || has_same_content(mapping, modified_at(info));
}

GuardedMapping* find_mapping(std::span<const std::uint8_t> bytes) {
  return bytes.empty() ? nullptr : find_mapping(reinterpret_cast<std::uintptr_t>(bytes.data()));
}

}  // namespace

int guard_mapping(std::span<const std::uint8_t> bytes, int fd, std::string name) {
  static const bool installed = (install_handler(), true);
  const std::lock_guard lock(guarded_mappings_change);
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
  for (int place = 0; installed && place < most_guarded_mappings; ++place) {
    GuardedMapping& mapping = guarded_mappings[static_cast<std::size_t>(place)];
    if (mapping.begin != mapping.end) continue;
    struct stat info = {};
    mapping.modified = fstat(fd, &info) == 0 ? modified_at(info) : unknown_time;
    mapping.fd = fd;
    mapping.name = std::move(name);
    mapping.checksum.reset();
    set_range(mapping, begin, begin + bytes.size());
    return place;
  }
  return -1;
}

void release_mapping(int place) noexcept {
  const std::lock_guard lock(guarded_mappings_change);
  set_range(guarded_mappings[static_cast<std::size_t>(place)], 0, 0);
}

void remember_content(std::span<const std::uint8_t> bytes, std::uint64_t checksum) {
  GuardedMapping* const mapping = find_mapping(bytes);
  if (mapping == nullptr) return;
  const std::lock_guard lock(guarded_mappings_change);
  mapping->checksum = checksum;
}

void require_intact(std::span<const std::uint8_t> bytes) {
  GuardedMapping* const mapping = find_mapping(bytes);
  if (mapping == nullptr || is_intact(*mapping)) return;
  fail(ErrorKind::bad_data,
       "{}: was truncated or written to, or its disk failed, while it was in use; put the file back as it was, then "
       "run the command again "
       "(files that are in use are to be replaced by renaming a new one, not by writing over them)",
       mapping->name);
}

void require_intact(std::span<const std::byte> bytes) {
  require_intact({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
}

}  // namespace accrue::train
