package event

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/dchest/siphash"
)

// FingerprintKeyBytes is the length of a fingerprint key.
const FingerprintKeyBytes = 16

// ErrFingerprintKey is returned for a key that is not 32 hexadecimal digits.
var ErrFingerprintKey = errors.New("fingerprint key is not 32 hexadecimal digits")

// Fingerprinter condenses an event's identity to 64 bits with SipHash-2-4 under a secret key, so that nobody who lacks the
// key can choose ids that collide. It is a plain value, safe for concurrent use.
//
// Two distinct identities share a fingerprint with probability 2⁻⁶⁴; among n ids of one window the expected number
// of events taken for a duplicate by mistake is below n²÷2⁶⁵: 3·10⁻⁵ at 30 million, 0.0016 at 240 million.
type Fingerprinter struct{ k0, k1 uint64 }

// NewFingerprinter returns the fingerprinter of a key given as 32 hexadecimal digits.
func NewFingerprinter(hexKey string) (Fingerprinter, error) {
	key, err := hex.DecodeString(hexKey)
	if err != nil || len(key) != FingerprintKeyBytes {
		return Fingerprinter{}, ErrFingerprintKey
	}
	return Fingerprinter{k0: binary.LittleEndian.Uint64(key), k1: binary.LittleEndian.Uint64(key[8:])}, nil
}

// Fingerprint returns the fingerprint of the identity (eventType, key, id). It is never 0: that stands for "no id".
func (f Fingerprinter) Fingerprint(eventType, key, id string) uint64 {
	var stack [512]byte
	buf := binary.LittleEndian.AppendUint32(stack[:0], uint32(len(eventType)))
	buf = append(buf, eventType...)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(key)))
	buf = append(buf, key...)
	return f.sum(append(buf, id...))
}

// FingerprintBytes is Fingerprint for a key and an id that are not strings yet.
func (f Fingerprinter) FingerprintBytes(eventType string, key, id []byte) uint64 {
	var stack [512]byte
	buf := binary.LittleEndian.AppendUint32(stack[:0], uint32(len(eventType)))
	buf = append(buf, eventType...)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(key)))
	buf = append(buf, key...)
	return f.sum(append(buf, id...))
}

func (f Fingerprinter) sum(framed []byte) uint64 {
	if h := siphash.Hash(f.k0, f.k1, framed); h != 0 {
		return h
	}
	return 1
}

// DerivedIDPrefix starts every id that AppendDerivedID makes.
const DerivedIDPrefix = "idem:"

// AppendDerivedID appends to dst the id of an event that came without one in a request that carries an idempotency key: a
// 128-bit keyed hash of that key, the event's index in the request and its bytes as sent. The same request sent
// again gives the same ids.
func (f Fingerprinter) AppendDerivedID(dst []byte, idempotencyKey string, index int, raw []byte) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(idempotencyKey)))
	dst = append(dst, idempotencyKey...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(index))
	dst = append(dst, raw...)
	// The complemented key keeps these hashes apart from fingerprints.
	lo, hi := siphash.Hash128(^f.k0, ^f.k1, dst[start:])
	var sum [16]byte
	binary.LittleEndian.PutUint64(sum[:], lo)
	binary.LittleEndian.PutUint64(sum[8:], hi)
	return base64.RawURLEncoding.AppendEncode(append(dst[:start], DerivedIDPrefix...), sum[:])
}

// String hides the key.
func (f Fingerprinter) String() string { return fmt.Sprintf("%T", f) }
