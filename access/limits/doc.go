// Package limits enforces the limits of keys and tenants: requests and tokens per minute,
// requests in flight, batches per hour.
//
// A [Limiter] has a token bucket for each rate of each key and tenant that has limits. A
// request takes from the buckets of its key and of its tenant, or of neither. Live
// requests that find too little are refused; lines of batches wait.
package limits
