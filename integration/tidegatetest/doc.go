// Package tidegatetest runs the real program for tests: the gateway and simulated vLLM
// servers as processes, on loopback ports and in temporary directories.
//
// A test starts the processes that it needs. They are stopped when it ends. The test fails
// if one of its processes exited unexpectedly, panicked or did not stop when requested. The
// output of the processes is shown for a failed test.
//
// The binary is built once per module tree, without the race detector: a race build of
// Caddy takes minutes, and unit tests run with the race detector. TIDEGATE_BIN names
// another binary to test.
package tidegatetest
