// Package source is what the dashboard shows of a gateway: it asks the batch
// engine, the pool of upstreams and the doctor, and puts what they say into the
// dashboard's words. It keeps nothing but what makes answers cheap.
package source
