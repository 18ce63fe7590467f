// Package vllmtest runs real vLLM servers on the CPU, for the tests in integration/vllm and
// for measurements: each is a process on a free loopback port, with a random model and
// its files in a temporary directory. scripts/test-vllm installs vLLM, creates the models and sets
// [VenvVariable] and [ModelsVariable].
package vllmtest
