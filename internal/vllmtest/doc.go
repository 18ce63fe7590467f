// Package vllmtest runs real vLLM servers on the processor, for the tests in
// integration/vllm and for measurements: each is a process of its own on a free
// port of the loopback interface, with a random model and with its files in a
// temporary directory. scripts/test-vllm installs vLLM, makes the models and sets
// [VenvVariable] and [ModelsVariable].
package vllmtest
