package doctor

import (
	"os"

	"golang.org/x/sys/unix"
)

// descriptors counts what the process has open, and what it may.
func descriptors() (open, most int64) {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 0, 0
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0, 0
	}
	return int64(len(entries)), int64(min(limit.Cur, 1<<62))
}
