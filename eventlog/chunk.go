package eventlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// ChunkType is the media type of an encoded Chunk.
const ChunkType = "application/vnd.quipu.log-chunk.v1"

// ErrChunk is returned for bytes that are not a chunk, or whose checksums differ.
var ErrChunk = errors.New("invalid log chunk")

// The binary form of a Chunk, version 1, for the wire. Integers are little-endian.
//
//	"QLC1"    8 next    8 end    8 as-of    1 length of the incarnation, incarnation    4 number of records
//	each record: 8 offset    8 append time    4 CRC-32C of the data    4 length, data
//	4 CRC-32C of everything before it but the records' data
const (
	chunkMagic       = "QLC1"
	chunkHeaderBytes = 4 + 3*8 + 1 + 4
	chunkRecordBytes = 8 + 8 + 4 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ChunkBytes returns the size of a chunk's binary form.
func ChunkBytes(c *Chunk) int {
	n := chunkHeaderBytes + len(c.Incarnation) + 4
	for i := range c.Records {
		n += chunkRecordBytes + len(c.Records[i].Data)
	}
	return n
}

// AppendChunk appends the binary form of c to dst.
func AppendChunk(dst []byte, c *Chunk) []byte {
	start := len(dst)
	dst = append(dst, chunkMagic...)
	dst = binary.LittleEndian.AppendUint64(dst, c.Next)
	dst = binary.LittleEndian.AppendUint64(dst, c.End)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.AsOf))
	dst = append(dst, byte(len(c.Incarnation)))
	dst = append(dst, c.Incarnation...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(c.Records)))
	sum := crc32.Checksum(dst[start:], castagnoli)
	for i := range c.Records {
		r := &c.Records[i]
		at := len(dst)
		dst = binary.LittleEndian.AppendUint64(dst, r.Offset)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(r.AppendTime))
		dst = binary.LittleEndian.AppendUint32(dst, r.Checksum)
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(r.Data)))
		sum = crc32.Update(sum, castagnoli, dst[at:])
		dst = append(dst, r.Data...)
	}
	return binary.LittleEndian.AppendUint32(dst, sum)
}

// DecodeChunk reads the binary form and verifies every checksum. The records' data alias data.
func DecodeChunk(data []byte) (Chunk, error) {
	if len(data) < chunkHeaderBytes+4 || string(data[:4]) != chunkMagic {
		return Chunk{}, fmt.Errorf("%w: does not start with %s", ErrChunk, chunkMagic)
	}
	body := data[:len(data)-4]
	c := Chunk{
		Next: binary.LittleEndian.Uint64(body[4:]), End: binary.LittleEndian.Uint64(body[12:]), AsOf: int64(binary.LittleEndian.Uint64(body[20:])),
	}
	at := 29 + int(body[28])
	if at+4 > len(body) {
		return Chunk{}, fmt.Errorf("%w: header is cut off", ErrChunk)
	}
	c.Incarnation = string(body[29:at])
	n := int(binary.LittleEndian.Uint32(body[at:]))
	at += 4
	if n > (len(body)-at)/chunkRecordBytes {
		return Chunk{}, fmt.Errorf("%w: %d records in %d bytes", ErrChunk, n, len(body))
	}
	sum := crc32.Checksum(body[:at], castagnoli)
	c.Records = make([]Record, n)
	for i := range c.Records {
		r, next, err := decodeRecord(body, at)
		if err != nil {
			return Chunk{}, err
		}
		sum = crc32.Update(sum, castagnoli, body[at:at+chunkRecordBytes])
		c.Records[i], at = r, next
	}
	if at != len(body) || binary.LittleEndian.Uint32(data[len(body):]) != sum {
		return Chunk{}, fmt.Errorf("%w: checksum differs", ErrChunk)
	}
	return c, nil
}

func decodeRecord(body []byte, at int) (r Record, next int, err error) {
	if at+chunkRecordBytes > len(body) {
		return r, 0, fmt.Errorf("%w: record is cut off", ErrChunk)
	}
	r.Offset = binary.LittleEndian.Uint64(body[at:])
	r.AppendTime = int64(binary.LittleEndian.Uint64(body[at+8:]))
	r.Checksum = binary.LittleEndian.Uint32(body[at+16:])
	size := int(binary.LittleEndian.Uint32(body[at+20:]))
	at += chunkRecordBytes
	if size > len(body)-at {
		return r, 0, fmt.Errorf("%w: record %d has %d bytes, %d follow", ErrChunk, r.Offset, size, len(body)-at)
	}
	r.Data = body[at : at+size : at+size]
	if crc32.Checksum(r.Data, castagnoli) != r.Checksum {
		return r, 0, fmt.Errorf("%w: data of record %d differ from their checksum", ErrChunk, r.Offset)
	}
	return r, at + size, nil
}
