/* Lets the N-th call of a kind on files below a folder fail; see failing_calls.py, which builds and preloads it.
 *
 * The plan is a file that every process of a case maps, so calls of children count as well.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE, FSYNC, RENAME, OPEN, MKDIR, UNLINK, TRUNCATE, READ, KINDS };

struct plan {
    long kind, nth, error, lasting, partial, failed; /* nth counts from 1; 0: none fails */
    long counts[16];
    char below[4096];
};

static struct plan *the_plan;

__attribute__((constructor)) static void open_plan(void) {
    const char *path = getenv("FAILING_CALLS_PLAN");
    if (!path) return;
    int descriptor = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return;
    void *mapped = mmap(NULL, sizeof(struct plan), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    syscall(SYS_close, descriptor);
    if (mapped != MAP_FAILED) the_plan = mapped;
}

static int is_below(const char *path) {
    char whole[8192];
    if (!the_plan || !the_plan->below[0] || !path) return 0;
    if (path[0] != '/') {
        if (syscall(SYS_getcwd, whole, 4096) < 0) return 0;
        strncat(whole, "/", sizeof whole - strlen(whole) - 1);
        strncat(whole, path, sizeof whole - strlen(whole) - 1);
        path = whole;
    }
    return strncmp(path, the_plan->below, strlen(the_plan->below)) == 0;
}

static int descriptor_is_below(int descriptor) {
    char link[64], path[4096];
    if (!the_plan || !the_plan->below[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return is_below(path);
}

static int is_below_at(int folder, const char *path) {
    char link[64], whole[8192];
    if (!path || path[0] == '/' || folder == AT_FDCWD) return is_below(path);
    if (!the_plan || !the_plan->below[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, whole, 4096);
    if (length <= 0) return 0;
    whole[length] = '/';
    whole[length + 1] = 0;
    strncat(whole, path, sizeof whole - strlen(whole) - 1);
    return is_below(whole);
}

/* Count a call; tells whether this one fails. */
static int fails(int kind) {
    long number = __atomic_add_fetch(&the_plan->counts[kind], 1, __ATOMIC_SEQ_CST);
    if (the_plan->kind != kind || the_plan->nth == 0) return 0;
    if (number != the_plan->nth && !(the_plan->lasting && number > the_plan->nth)) return 0;
    __atomic_add_fetch(&the_plan->failed, 1, __ATOMIC_SEQ_CST);
    errno = (int)the_plan->error;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Of the first write to fail, half may still be taken, as on a disk that becomes full. */
static size_t taken_of(size_t size) { return the_plan->partial && the_plan->failed == 1 ? size / 2 : 0; }

ssize_t write(int descriptor, const void *data, size_t size) {
    if (descriptor_is_below(descriptor) && fails(WRITE)) {
        size_t taken = taken_of(size);
        return taken ? syscall(SYS_write, descriptor, data, taken) : -1;
    }
    return syscall(SYS_write, descriptor, data, size);
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t at) {
    if (descriptor_is_below(descriptor) && fails(WRITE)) {
        size_t taken = taken_of(size);
        return taken ? syscall(SYS_pwrite64, descriptor, data, taken, at) : -1;
    }
    return syscall(SYS_pwrite64, descriptor, data, size, at);
}
ssize_t pwrite(int descriptor, const void *data, size_t size, off_t at) { return pwrite64(descriptor, data, size, at); }

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    if (descriptor_is_below(descriptor) && fails(WRITE)) {
        size_t size = 0;
        for (int number = 0; number < count; number++) size += parts[number].iov_len;
        size_t taken = taken_of(size);
        if (taken && taken > parts[0].iov_len) taken = parts[0].iov_len;
        return taken ? syscall(SYS_write, descriptor, parts[0].iov_base, taken) : -1;
    }
    return syscall(SYS_writev, descriptor, parts, count);
}

ssize_t sendfile64(int out, int in, off64_t *at, size_t size) {
    if (descriptor_is_below(out) && fails(WRITE)) {
        size_t taken = taken_of(size);
        return taken ? syscall(SYS_sendfile, out, in, at, taken) : -1;
    }
    return syscall(SYS_sendfile, out, in, at, size);
}
ssize_t sendfile(int out, int in, off_t *at, size_t size) { return sendfile64(out, in, at, size); }

ssize_t read(int descriptor, void *data, size_t size) {
    if (descriptor_is_below(descriptor) && fails(READ)) {
        return the_plan->partial ? syscall(SYS_read, descriptor, data, (size + 1) / 2) : -1;
    }
    return syscall(SYS_read, descriptor, data, size);
}

ssize_t pread64(int descriptor, void *data, size_t size, off64_t at) {
    if (descriptor_is_below(descriptor) && fails(READ)) {
        return the_plan->partial ? syscall(SYS_pread64, descriptor, data, (size + 1) / 2, at) : -1;
    }
    return syscall(SYS_pread64, descriptor, data, size, at);
}
ssize_t pread(int descriptor, void *data, size_t size, off_t at) { return pread64(descriptor, data, size, at); }

ssize_t readv(int descriptor, const struct iovec *parts, int count) {
    if (descriptor_is_below(descriptor) && fails(READ)) {
        return the_plan->partial ? syscall(SYS_readv, descriptor, parts, (count + 1) / 2) : -1;
    }
    return syscall(SYS_readv, descriptor, parts, count);
}

int fsync(int descriptor) {
    return descriptor_is_below(descriptor) && fails(FSYNC) ? -1 : (int)syscall(SYS_fsync, descriptor);
}
int fdatasync(int descriptor) {
    return descriptor_is_below(descriptor) && fails(FSYNC) ? -1 : (int)syscall(SYS_fdatasync, descriptor);
}

int rename(const char *from, const char *to) {
    return is_below(to) && fails(RENAME) ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    if (is_below_at(to_folder, to) && fails(RENAME)) return -1;
    return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, 0);
}
int link(const char *from, const char *to) {
    return is_below(to) && fails(RENAME) ? -1 : (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}

static int opened(int folder, const char *path, int flags, mode_t mode) {
    if ((flags & (O_CREAT | O_WRONLY | O_RDWR)) && is_below_at(folder, path) && fails(OPEN)) return -1;
    return (int)syscall(SYS_openat, folder, path, flags, mode);
}
int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return opened(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return opened(AT_FDCWD, path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return opened(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return opened(folder, path, flags, mode);
}
FILE *fopen(const char *path, const char *mode) {
    if (mode[0] != 'r' && is_below(path) && fails(OPEN)) return NULL;
    return REAL(fopen)(path, mode);
}
FILE *fopen64(const char *path, const char *mode) {
    if (mode[0] != 'r' && is_below(path) && fails(OPEN)) return NULL;
    return REAL(fopen64)(path, mode);
}
int symlink(const char *target, const char *path) {
    return is_below(path) && fails(OPEN) ? -1 : (int)syscall(SYS_symlinkat, target, AT_FDCWD, path);
}
int symlinkat(const char *target, int folder, const char *path) {
    return is_below_at(folder, path) && fails(OPEN) ? -1 : (int)syscall(SYS_symlinkat, target, folder, path);
}

int mkdir(const char *path, mode_t mode) {
    return is_below(path) && fails(MKDIR) ? -1 : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}
int unlink(const char *path) {
    return is_below(path) && fails(UNLINK) ? -1 : (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
int unlinkat(int folder, const char *path, int flags) {
    return is_below_at(folder, path) && fails(UNLINK) ? -1 : (int)syscall(SYS_unlinkat, folder, path, flags);
}
int rmdir(const char *path) {
    return is_below(path) && fails(UNLINK) ? -1 : (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
}
int ftruncate64(int descriptor, off64_t size) {
    return descriptor_is_below(descriptor) && fails(TRUNCATE) ? -1 : (int)syscall(SYS_ftruncate, descriptor, size);
}
int ftruncate(int descriptor, off_t size) { return ftruncate64(descriptor, size); }
int posix_fallocate64(int descriptor, off64_t at, off64_t size) {
    if (descriptor_is_below(descriptor) && fails(TRUNCATE)) return errno;
    return syscall(SYS_fallocate, descriptor, 0, at, size) < 0 ? errno : 0;
}
int posix_fallocate(int descriptor, off_t at, off_t size) { return posix_fallocate64(descriptor, at, size); }
