package batch

import (
	"crypto/sha256"
	"fmt"
	"strconv"
)

// RequestID names a line in its result: the same for every attempt.
func RequestID(batchID string, line int) string {
	return fmt.Sprintf("batch_req_%x", ShortHash(batchID+"/"+strconv.Itoa(line)))
}

func ShortHash(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:16]
}
