$data0 << END
0.000 -0.060 0.000 0.000
0.000 0.940 0.000 0.000
1.690 1.940 0.404 2.946
4.974 2.940 3.403 6.690
3.473 3.940 1.710 5.236
2.314 4.940 0.844 3.850
0.000 5.940 0.000 0.000
END
$data1 << END
7.825 0.060 -7.314 25.930
0.000 1.060 0.000 0.000
0.000 2.060 0.000 0.000
9.674 3.060 4.012 15.115
0.684 4.060 -4.019 5.357
END
set terminal svg noenhanced size 820,560 background 'white' font 'sans,13'
set output 'gains.svg'
set ytics ('popularity' 0, 'item-kNN' 1, 'EASE' 2, 'BPR-MF' 3, 'LightGCN' 4, 'SimGCL' 5, 'XSimGCL' 6)
set yrange [6.6:-0.6]
set xlabel 'gain of the augmented over the original arm in ndcg@20 on test, per cent, with its 95 % interval'
set key outside top center horizontal
set offsets graph 0.05, graph 0.05, 0, 0
set grid x
set arrow from first 0, graph 0 to first 0, graph 1 nohead lc rgb '#444444'
plot $data0 using 1:2:3:4 with xerrorbars pt 7 ps 0.6 lw 1.5 title 'ml-100k', $data1 using 1:2:3:4 with xerrorbars pt 7 ps 0.6 lw 1.5 title 'amazon-beauty'
