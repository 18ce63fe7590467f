package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of processor times in /proc, USER_HZ, which is 100 on
// every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// cpu is the processor time that the server and its children have used.
func (p *process) cpu() (time.Duration, error) {
	used, err := cpuOf(p.cmd.Process.Pid)
	if err != nil {
		return 0, fmt.Errorf("reading processor time of %s: %w", p.name, err)
	}
	return used, nil
}

// cpuTries limits the retries of cpuOf after a child ended meanwhile.
const cpuTries = 10

// cpuOf is the processor time that a process and its children (nginx's workers,
// PostgreSQL's backends) have used, those included that have ended and were
// waited for.
func cpuOf(pid int) (time.Duration, error) {
	var err error
	for range cpuTries {
		var used time.Duration
		if used, err = cpuOnce(pid); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
			return used, err
		}
	}
	return 0, err
}

// cpuOnce lists the children before it reads the time of the process. So the time of a
// child that ends in between is not lost: it moves to its parent.
func cpuOnce(pid int) (time.Duration, error) {
	children, err := childrenOf(pid)
	if err != nil {
		return 0, err
	}
	var total time.Duration
	for _, pid := range append([]int{pid}, children...) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		used, err := parseStat(stat)
		if err != nil {
			return 0, err
		}
		total += used
	}
	return total, nil
}

func childrenOf(pid int) ([]int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil, err
	}
	var pids []int
	for field := range strings.FieldsSeq(string(text)) {
		child, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		pids = append(pids, child)
	}
	return pids, nil
}

// parseStat adds up fields 14 to 17 of /proc/PID/stat, user and system time of
// the process and of the children that it waited for (proc(5)). The name in
// field 2 may have anything in it, so that fields are counted from its end.
func parseStat(stat []byte) (time.Duration, error) {
	_, rest, ok := bytes.Cut(stat[max(bytes.LastIndexByte(stat, ')'), 0):], []byte{' '})
	fields := strings.Fields(string(rest))
	if !ok || len(fields) < 15 {
		return 0, fmt.Errorf("no stat of a process: %q", stat)
	}
	var total time.Duration
	for _, f := range fields[11:15] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading stat of a process: %w", err)
		}
		total += time.Duration(n) * clockTick
	}
	return total, nil
}

// memory returns a line of /proc/PID/status in bytes: VmRSS is the current memory, VmHWM
// its maximum.
func (p *process) memory(line string) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("reading memory of %s: %w", p.name, err)
	}
	for l := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(l, line+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("reading memory of %s: %w", p.name, err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("no %s in the status of %s", line, p.name)
}

// parentOf is the process that started another: field 4 of its stat, the second
// after the name.
func parentOf(pid int) (int, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("looking for the parent of a process: %w", err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 2 {
		return 0, fmt.Errorf("no stat of a process: %q", stat)
	}
	return strconv.Atoi(fields[1])
}
