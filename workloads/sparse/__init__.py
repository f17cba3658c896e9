"""N:M training of torch models: conversion, the products of a layer, what can be looked at."""
