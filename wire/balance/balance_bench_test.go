package balance_test

import (
	"context"
	"testing"

	"github.com/quipudb/quipu/wire/balance"
)

// What a call through the balancer costs beyond the call itself.
func BenchmarkDo(b *testing.B) {
	l := balance.New(balance.Config{HedgeShare: 0.03, Zone: "z"})
	all := list("http://127.0.0.1:8001", "http://127.0.0.1:8002")
	b.Run("Do", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := l.Do(b.Context(), "stats", all, func(context.Context, string) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Ask", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := balance.Ask(b.Context(), l, "stats", all, func(context.Context, string) (*int, error) { return nil, nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
}
