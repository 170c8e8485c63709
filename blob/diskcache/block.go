package diskcache

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
)

const (
	magic      = "QCB1"
	sumAt      = len(magic)
	numberAt   = sumAt + 4
	nameSizeAt = numberAt + 8
	nameAt     = nameSizeAt + 2
)

// id stands for a block of an object.
type id [16]byte

func idOf(name string, number int64) id {
	hash := sha256.New()
	hash.Write(binary.BigEndian.AppendUint64(nil, uint64(number)))
	hash.Write([]byte(name))
	return id(hash.Sum(nil)[:16])
}

func (c *Cache) path(block id) string {
	name := hex.EncodeToString(block[:])
	return filepath.Join(c.dir, name[:2], name)
}

// fileBytes is what a block takes of the disk.
func fileBytes(name string, length int) int64 {
	size := int64(nameAt + len(name) + length)
	return (size + clusterBytes - 1) / clusterBytes * clusterBytes
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encode(name string, number int64, data []byte) []byte {
	file := make([]byte, 0, nameAt+len(name)+len(data))
	file = append(file, magic...)
	file = append(file, 0, 0, 0, 0)
	file = binary.BigEndian.AppendUint64(file, uint64(number))
	file = binary.BigEndian.AppendUint16(file, uint16(len(name)))
	file = append(file, name...)
	file = append(file, data...)
	binary.BigEndian.PutUint32(file[sumAt:], crc32.Checksum(file[numberAt:], castagnoli))
	return file
}

// errBlock is a file that is not the block it should be.
var errBlock = errors.New("not what was written")

// decode returns the block's bytes if the file is that of the block and whole.
func decode(file []byte, name string, number int64, length int) ([]byte, error) {
	if len(file) != nameAt+len(name)+length || string(file[:sumAt]) != magic ||
		binary.BigEndian.Uint32(file[sumAt:]) != crc32.Checksum(file[numberAt:], castagnoli) ||
		binary.BigEndian.Uint64(file[numberAt:]) != uint64(number) ||
		int(binary.BigEndian.Uint16(file[nameSizeAt:])) != len(name) || string(file[nameAt:nameAt+len(name)]) != name {
		return nil, errBlock
	}
	return file[nameAt+len(name):], nil
}

// load reads a block from the folder; nil if it is not there, or no longer what was written.
func (c *Cache) load(name string, number int64, length int) []byte {
	block := idOf(name, number)
	if !c.has(block) {
		return nil
	}
	file, err := os.ReadFile(c.path(block))
	if errors.Is(err, os.ErrNotExist) {
		c.forget(block) // evicted meanwhile, or removed by somebody else
		return nil
	}
	if err == nil {
		file, err = decode(file, name, number, length)
	}
	if err != nil {
		c.metrics.damaged.Inc()
		c.logger.Warn("a cached block is damaged and is fetched again", "path", c.path(block), "object", name, "error", err)
		c.forget(block)
		return nil
	}
	return file
}

// store writes a block that is not in the folder. If that fails, it is not cached. Only the goroutine whose flight it is calls it.
func (c *Cache) store(name string, number int64, data []byte) {
	block, bytes := idOf(name, number), fileBytes(name, len(data))
	if !c.reserve(bytes) {
		c.metrics.unwritten.Inc()
		return
	}
	path := c.path(block)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, encode(name, number, data), 0o644)
	}
	if err != nil {
		c.metrics.unwritten.Inc()
		c.logger.Warn("a block can't be cached", "path", path, "object", name, "error", err)
	}
	c.settle(block, bytes, err == nil)
}
