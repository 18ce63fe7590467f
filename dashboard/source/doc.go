// Package source provides the dashboard's data: it queries the batch engine, the pool
// of upstreams and the doctor, and converts the results to the dashboard's models. It
// stores nothing but caches.
package source
