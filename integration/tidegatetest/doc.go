// Package tidegatetest runs the real program for tests: the gateway and
// simulated vLLM servers as processes of their own, on loopback ports and in
// temporary directories.
//
// A test starts what it needs and nothing else. Whatever it started is ended
// when it ends, and it fails if one of its processes ended by itself, panicked
// or did not stop when it was told to. What the processes printed is shown for
// a test that failed.
//
// The binary is built once per module tree, without the race detector: a race
// build of Caddy takes minutes, and races are looked for by the packages' own
// tests. TIDEGATE_BIN names another binary to test.
package tidegatetest
