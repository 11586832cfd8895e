/* Preloaded into user-mode Linux, so that it also runs on processors with a large extended state (AMX).
 *
 * Its kernel sets the floating point registers of a guest's process with a state of the size that it was compiled with. The
 * host takes none that is shorter than its own (NT_X86_XSTATE, EFAULT), and the guest would die at its first process. Here
 * the guest's part is laid over the whole of what the process has. Where both are of one size, nothing changes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/elf.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>

enum { GETREGSET = 0x4204, SETREGSET = 0x4205 }; /* ptrace(2); its header declares another form of what is below */

static long (*libc_ptrace)(int request, ...);

__attribute__((constructor)) static void find(void)
{
	libc_ptrace = (long (*)(int, ...))dlsym(RTLD_NEXT, "ptrace");
}

long ptrace(int request, pid_t pid, void *address, void *data)
{
	static char whole[1 << 16]; /* the guest kernel's stacks are small, and it has one thread that asks */
	struct iovec all = { whole, sizeof whole }, *part = data;

	if (request == SETREGSET && (unsigned long)address == NT_X86_XSTATE
	    && libc_ptrace(GETREGSET, pid, address, &all) == 0 && all.iov_len > part->iov_len) {
		memcpy(whole, part->iov_base, part->iov_len);
		data = &all;
	}
	return libc_ptrace(request, pid, address, data);
}
