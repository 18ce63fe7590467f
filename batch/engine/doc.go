// Package engine puts the parts of batch work together and starts and stops them.
//
// An [Engine] opens store, queue and files, runs the scheduler, the workers that validate
// and finalize batches, the cleaner, and the membership of gateways that share a store. It
// is the service behind the API and the dashboard.
package engine
