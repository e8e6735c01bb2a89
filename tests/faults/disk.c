/* A disk that fails when told to: preloaded (LD_PRELOAD), it stands before the calls of the C library that change files.
 *
 * What fails is said by a small file that the library maps (FAULT_CONTROL, or fault_control()); the layout of `struct control` is
 * known to disk.py. Calls on paths below `under` are counted, over all processes that share the file; the `from`-th and the
 * `count - 1` after it fail with `error`, or write half of what they are given (`brief`), and every one takes `delay_us` longer.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, WRITE = 2, SYNC = 4, RENAME = 8, MKDIR = 16, UNLINK = 32, TRUNCATE = 64, MMAP = 128, CLOSE = 256, READ = 512, CHMOD = 1024 };

struct control {
  char under[1024];
  char log[1024]; /* a line for each counted call, if not empty */
  uint32_t calls; /* kinds that count */
  int32_t from, count, error, brief, delay_us;
  int32_t seen, failed; /* both by all processes */
};

static struct control *control;

#define REAL(name) \
  static __typeof__(&name) real; \
  if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

__attribute__((visibility("default"))) void fault_control(const char *path) {
  int file = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
  if (file < 0) return;
  void *found = (void *)syscall(SYS_mmap, NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  syscall(SYS_close, file);
  control = found == MAP_FAILED ? NULL : found;
}

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("FAULT_CONTROL");
  if (path) fault_control(path);
}

static int below(const char *path) {
  size_t length = strlen(control->under);
  return length && !strncmp(path, control->under, length) && (path[length] == '/' || path[length] == '\0');
}

static const char *of_file(int file, char *path) { /* the path an open file was opened by; NULL if it has none */
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
  if (length < 0) return NULL;
  path[length] = '\0';
  return path;
}

static const char *of_name(int folder, const char *name, char *path) {
  if (!name) return NULL;
  if (name[0] == '/') return name;
  char start[PATH_MAX];
  if (folder == AT_FDCWD ? syscall(SYS_getcwd, start, sizeof start) < 0 : !of_file(folder, start)) return NULL;
  size_t length = strlen(start), more = strlen(name);
  if (length + more + 2 > PATH_MAX) return NULL;
  memcpy(path, start, length);
  path[length] = '/';
  memcpy(path + length + 1, name, more + 1);
  return path;
}

/* 0: go on; 1: fail, errno is set; 2: write half. */
static int met(uint32_t kind, const char *what, const char *path) {
  if (!path || !below(path)) return 0;
  int before = errno;
  if (control->delay_us) usleep((useconds_t)control->delay_us);
  int number = __atomic_add_fetch(&control->seen, 1, __ATOMIC_SEQ_CST);
  if (control->log[0]) {
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%d %s %s\n", number, what, path);
    int file = (int)syscall(SYS_openat, AT_FDCWD, control->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (file >= 0) {
      syscall(SYS_write, file, line, length);
      syscall(SYS_close, file);
    }
  }
  errno = before;
  if (!control->from || number < control->from || (control->count >= 0 && number >= control->from + control->count)) return 0;
  __atomic_add_fetch(&control->failed, 1, __ATOMIC_SEQ_CST);
  if (control->brief && kind == WRITE) return 2;
  errno = control->error;
  return 1;
}

static int named(uint32_t kind, const char *what, int folder, const char *name) {
  char path[PATH_MAX];
  if (!control || !(control->calls & kind) || !control->under[0]) return 0;
  return met(kind, what, of_name(folder, name, path));
}

static int opened(uint32_t kind, const char *what, int file) {
  char path[PATH_MAX];
  if (!control || !(control->calls & kind) || !control->under[0]) return 0;
  return met(kind, what, of_file(file, path));
}

/* --- opening --- */

static int opening(int folder, const char *name, int flags) {
  int writes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);
  return named(writes ? OPEN : READ, writes ? "open" : "read", folder, name);
}

#define MODE \
  mode_t mode = 0; \
  if (flags & (O_CREAT | O_TMPFILE)) { \
    va_list rest; \
    va_start(rest, flags); \
    mode = va_arg(rest, mode_t); \
    va_end(rest); \
  }

int open(const char *name, int flags, ...) { MODE REAL(open); return opening(AT_FDCWD, name, flags) ? -1 : real(name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE REAL(open64); return opening(AT_FDCWD, name, flags) ? -1 : real(name, flags, mode); }
int openat(int folder, const char *name, int flags, ...) { MODE REAL(openat); return opening(folder, name, flags) ? -1 : real(folder, name, flags, mode); }
int openat64(int folder, const char *name, int flags, ...) { MODE REAL(openat64); return opening(folder, name, flags) ? -1 : real(folder, name, flags, mode); }
int creat(const char *name, mode_t mode) { REAL(creat); return opening(AT_FDCWD, name, O_WRONLY | O_CREAT) ? -1 : real(name, mode); }

static int how(const char *mode) { return mode[0] == 'r' && !strchr(mode, '+') ? O_RDONLY : O_WRONLY | O_CREAT; }
FILE *fopen(const char *name, const char *mode) { REAL(fopen); return opening(AT_FDCWD, name, how(mode)) ? NULL : real(name, mode); }
FILE *fopen64(const char *name, const char *mode) { REAL(fopen64); return opening(AT_FDCWD, name, how(mode)) ? NULL : real(name, mode); }

/* --- writing --- */

#define WRITING(what, all, half) \
  switch (opened(WRITE, what, file)) { \
    case 1: return -1; \
    case 2: return half; \
    default: return all; \
  }

ssize_t write(int file, const void *data, size_t size) { REAL(write); WRITING("write", real(file, data, size), real(file, data, (size + 1) / 2)) }
ssize_t pwrite(int file, const void *data, size_t size, off_t at) { REAL(pwrite); WRITING("pwrite", real(file, data, size, at), real(file, data, (size + 1) / 2, at)) }
ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) { REAL(pwrite64); WRITING("pwrite", real(file, data, size, at), real(file, data, (size + 1) / 2, at)) }
ssize_t writev(int file, const struct iovec *parts, int count) { REAL(writev); WRITING("writev", real(file, parts, count), real(file, parts, (count + 1) / 2)) }
ssize_t pwritev(int file, const struct iovec *parts, int count, off_t at) { REAL(pwritev); WRITING("pwritev", real(file, parts, count, at), real(file, parts, (count + 1) / 2, at)) }
ssize_t sendfile(int file, int from, off_t *at, size_t size) { REAL(sendfile); WRITING("sendfile", real(file, from, at, size), real(file, from, at, (size + 1) / 2)) }
ssize_t sendfile64(int file, int from, off64_t *at, size_t size) { REAL(sendfile64); WRITING("sendfile", real(file, from, at, size), real(file, from, at, (size + 1) / 2)) }
ssize_t copy_file_range(int from, off64_t *at, int file, off64_t *to, size_t size, unsigned flags) {
  REAL(copy_file_range);
  WRITING("copy", real(from, at, file, to, size, flags), real(from, at, file, to, (size + 1) / 2, flags))
}
int posix_fallocate(int file, off_t at, off_t size) { REAL(posix_fallocate); return opened(WRITE, "fallocate", file) == 1 ? errno : real(file, at, size); }
int fallocate(int file, int mode, off_t at, off_t size) { REAL(fallocate); return opened(WRITE, "fallocate", file) == 1 ? -1 : real(file, mode, at, size); }

/* The C library's own streams write inside of it, where nothing can stand before. */
size_t fwrite(const void *data, size_t size, size_t count, FILE *stream) {
  REAL(fwrite);
  switch (stream == stdout || stream == stderr ? 0 : opened(WRITE, "fwrite", fileno(stream))) {
    case 1: return 0;
    case 2: return real(data, size, count / 2, stream);
    default: return real(data, size, count, stream);
  }
}
int fclose(FILE *stream) {
  REAL(fclose);
  int fails = opened(CLOSE, "fclose", fileno(stream)), reason = errno;
  int status = real(stream);
  return fails ? (errno = reason, EOF) : status;
}

/* --- all else --- */

int fsync(int file) { REAL(fsync); return opened(SYNC, "fsync", file) ? -1 : real(file); }
int fdatasync(int file) { REAL(fdatasync); return opened(SYNC, "fdatasync", file) ? -1 : real(file); }
int rename(const char *from, const char *to) { REAL(rename); return named(RENAME, "rename", AT_FDCWD, to) ? -1 : real(from, to); }
int renameat(int a, const char *from, int b, const char *to) { REAL(renameat); return named(RENAME, "rename", b, to) ? -1 : real(a, from, b, to); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { REAL(renameat2); return named(RENAME, "rename", b, to) ? -1 : real(a, from, b, to, flags); }
int link(const char *from, const char *to) { REAL(link); return named(RENAME, "link", AT_FDCWD, to) ? -1 : real(from, to); }
int mkdir(const char *name, mode_t mode) { REAL(mkdir); return named(MKDIR, "mkdir", AT_FDCWD, name) ? -1 : real(name, mode); }
int mkdirat(int folder, const char *name, mode_t mode) { REAL(mkdirat); return named(MKDIR, "mkdir", folder, name) ? -1 : real(folder, name, mode); }
int unlink(const char *name) { REAL(unlink); return named(UNLINK, "unlink", AT_FDCWD, name) ? -1 : real(name); }
int unlinkat(int folder, const char *name, int flags) { REAL(unlinkat); return named(UNLINK, "unlink", folder, name) ? -1 : real(folder, name, flags); }
int remove(const char *name) { REAL(remove); return named(UNLINK, "unlink", AT_FDCWD, name) ? -1 : real(name); }
int rmdir(const char *name) { REAL(rmdir); return named(UNLINK, "rmdir", AT_FDCWD, name) ? -1 : real(name); }
int ftruncate(int file, off_t size) { REAL(ftruncate); return opened(TRUNCATE, "truncate", file) ? -1 : real(file, size); }
int ftruncate64(int file, off64_t size) { REAL(ftruncate64); return opened(TRUNCATE, "truncate", file) ? -1 : real(file, size); }
int truncate(const char *name, off_t size) { REAL(truncate); return named(TRUNCATE, "truncate", AT_FDCWD, name) ? -1 : real(name, size); }
int chmod(const char *name, mode_t mode) { REAL(chmod); return named(CHMOD, "chmod", AT_FDCWD, name) ? -1 : real(name, mode); }
int fchmod(int file, mode_t mode) { REAL(fchmod); return opened(CHMOD, "chmod", file) ? -1 : real(file, mode); }
int fchmodat(int folder, const char *name, mode_t mode, int flags) { REAL(fchmodat); return named(CHMOD, "chmod", folder, name) ? -1 : real(folder, name, mode, flags); }

void *mmap(void *at, size_t size, int rights, int flags, int file, off_t from) {
  REAL(mmap);
  int shared = file >= 0 && flags & MAP_SHARED && rights & PROT_WRITE;
  return shared && opened(MMAP, "mmap", file) ? MAP_FAILED : real(at, size, rights, flags, file, from);
}
void *mmap64(void *at, size_t size, int rights, int flags, int file, off64_t from) {
  REAL(mmap64);
  int shared = file >= 0 && flags & MAP_SHARED && rights & PROT_WRITE;
  return shared && opened(MMAP, "mmap", file) ? MAP_FAILED : real(at, size, rights, flags, file, from);
}

int close(int file) { /* closed all the same, as network disks do that tell only now that a write failed */
  REAL(close);
  char path[PATH_MAX];
  int fails = 0, reason = 0;
  if (control && control->calls & CLOSE && control->under[0]) {
    int flags = fcntl(file, F_GETFL);
    if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY) {
      fails = met(CLOSE, "close", of_file(file, path));
      reason = errno;
    }
  }
  int status = real(file);
  return fails ? (errno = reason, -1) : status;
}
