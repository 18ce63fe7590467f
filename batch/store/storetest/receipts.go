package storetest

import "time"

var receiptTests = []test{
	{"keys of receipts are kept as they were added first, the oldest first", func(e *env) {
		for _, k := range [][2]string{{"b", "1"}, {"a", "2"}, {"b", "3"}} {
			e.ok(e.s.AddReceiptKey(e.Context(), k[0], k[1]))
			e.db.Advance(time.Second)
		}
		e.reopen()
		keys, err := e.s.ReceiptKeys(e.Context(), 10)
		e.ok(err)
		if len(keys) != 2 || keys[0].ID != "b" || keys[0].Public != "1" || keys[1].ID != "a" || !keys[0].AddedAt.Before(keys[1].AddedAt) {
			e.Fatalf("keys are %+v", keys)
		}
		keys, err = e.s.ReceiptKeys(e.Context(), 1)
		e.ok(err)
		equal(e, "keys of a short list", len(keys), 1)
	}},
}
