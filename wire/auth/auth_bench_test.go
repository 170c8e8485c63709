package auth_test

import (
	"fmt"
	"testing"

	"github.com/quipudb/quipu/wire/auth"
)

func BenchmarkCheck(b *testing.B) {
	for _, count := range []int{1, 16, auth.MaxTokens} {
		b.Run(fmt.Sprintf("%d tokens", count), func(b *testing.B) {
			var header string
			tokens := make([]auth.Token, count)
			for i := range tokens {
				token, hash := auth.Generate()
				header = "Bearer " + token
				tokens[i] = auth.Token{Name: fmt.Sprint(i), Scopes: []auth.Scope{auth.Write}, SHA256: hash}
			}
			verifier, err := auth.New(tokens)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := verifier.Check(header, auth.Write); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
