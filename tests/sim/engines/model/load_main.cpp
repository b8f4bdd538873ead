#include "dma_main.hpp"
