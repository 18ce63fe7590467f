package batch

import (
	"crypto/sha256"
	"fmt"
	"strconv"
)

// requestID names a line in its result: the same for every attempt.
func requestID(batchID string, line int) string {
	return fmt.Sprintf("batch_req_%x", sha256Of(batchID+"/"+strconv.Itoa(line)))
}

func sha256Of(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:16]
}
