set terminal svg size 480,372 dynamic noenhanced font 'sans-serif,14' background rgb 'white' name 'arms_lightgcn'
set output 'arms-lightgcn.svg.part'
set key tmargin left horizontal reverse Left width -4 samplen 1.5
set grid lc rgb '#dddddd'
unset key
set title 'lightgcn'
set xlabel 'ndcg@20 on test'
set yrange [6.5:-0.5]
set ytics ('original' 0, 'augmented' 1, 'control.random' 2, 'control.popularity' 3, 'control.itemknn' 4, 'control.self' 5, 'control.ensemble' 6)
$arms << END
0.328836725 0 0.00237327449
0.335868237 1 0.00231054403
0.329869159 2 0.00269349605
0.328273585 3 0.00331694645
0.32656945 4 0.00284949635
0.330607479 5 0.00198184624
0.336003135 6 0.00298566802
END
set xtics 0.005
set offsets graph 0.04, graph 0.04, 0, 0
plot $arms using 1:2:3 with xerrorbars pt 7 ps 0.8 lw 1.5 lc rgb '#1f5fa8'
